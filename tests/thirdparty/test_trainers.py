"""Trainers of other libraries take a compiled model, and train it as they train the model."""

import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, SequentialSampler, default_collate

import fxsolve

pytestmark = [pytest.mark.thirdparty, pytest.mark.filterwarnings("ignore")]
STEPS, BATCH, RATE = 4, 4, 0.1


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.Linear(8, 8), nn.Linear(8, 1)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        h = torch.zeros_like(x[:, 0])
        for t in range(x.shape[1]):
            h = torch.tanh(self.cell(h) + x[:, t])
        y = self.head(h).squeeze(-1)
        return {"logits": y} if labels is None else {"loss": (y - labels).square().mean(), "logits": y}


def data() -> list[dict[str, Tensor]]:
    drawn = torch.Generator().manual_seed(0)
    return [
        {"x": torch.randn(12, 8, generator=drawn), "labels": torch.randn((), generator=drawn)}
        for _ in range(STEPS * BATCH)
    ]


def made() -> tuple[Net, Any]:
    torch.manual_seed(1)
    model = Net()
    return model, fxsolve.compile(model, schedule="gs", backend="eager")


def assert_trained(model: Net, precision: str = "no") -> None:
    """The model has the weights that plain training gives."""
    torch.manual_seed(1)
    expected = Net()
    optimizer = torch.optim.SGD(expected.parameters(), RATE)
    for k in range(STEPS):
        batch = default_collate(data()[k * BATCH : (k + 1) * BATCH])
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = expected(**batch)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    for ours, theirs in zip(model.parameters(), expected.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_accelerate(precision: str, tmp_path: Path) -> None:
    accelerate = pytest.importorskip("accelerate")
    accelerate.state.AcceleratorState._reset_state(True)  # one precision for each process
    model, fast = made()
    accelerator = accelerate.Accelerator(cpu=True, mixed_precision=precision)
    optimizer = torch.optim.SGD(fast.parameters(), RATE)
    prepared, optimizer, loader = accelerator.prepare(fast, optimizer, DataLoader(data(), batch_size=BATCH))
    for batch in loader:
        accelerator.backward(prepared(**batch)["loss"])
        optimizer.step()
        optimizer.zero_grad()
    assert fast.report().status == "emitted", fast.report().reason
    assert_trained(model, precision)
    accelerator.save_state(tmp_path)
    accelerator.load_state(tmp_path)
    assert accelerator.unwrap_model(prepared) is fast


def test_the_trainer_of_transformers(tmp_path: Path) -> None:
    accelerate = pytest.importorskip("accelerate")
    accelerate.state.AcceleratorState._reset_state(True)
    transformers = importlib.import_module("transformers")

    class InOrder(transformers.Trainer):
        def _get_train_sampler(self, *_: Any) -> Any:
            return SequentialSampler(self.train_dataset)

    model, fast = made()
    options = {"optim": "sgd", "learning_rate": RATE, "lr_scheduler_type": "constant", "max_grad_norm": 0}
    known = inspect.signature(transformers.TrainingArguments).parameters
    here = {"use_cpu": True, "report_to": [], "disable_tqdm": True, "num_train_epochs": 1}
    batches = {"per_device_train_batch_size": BATCH, "per_device_eval_batch_size": BATCH}
    assert {*options, *here, *batches} <= {*known}
    given = transformers.TrainingArguments(str(tmp_path), **options, **here, **batches)
    trainer = InOrder(model=fast, args=given, train_dataset=data(), eval_dataset=data())
    trainer.train()
    assert_trained(model)
    assert fast.report().status == "emitted", fast.report().reason
    # Found by the names in the signature of `fast.__class__.forward`: without it there is no loss in an evaluation.
    assert trainer.label_names == ["labels"]
    assert "eval_loss" in trainer.evaluate()


def test_lightning_takes_a_module_with_a_compiled_one_inside(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning")
    model, fast = made()

    class Lit(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = fast

        def training_step(self, batch: Any, _: int) -> Tensor:
            return self.net(**batch)["loss"]

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), RATE)

    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", default_root_dir=tmp_path, **quiet)
    trainer.fit(Lit(), DataLoader(data(), batch_size=BATCH))
    assert_trained(model)
    assert fast.report().status == "emitted", fast.report().reason
