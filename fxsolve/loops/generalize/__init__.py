"""One program recorded at two lengths, at any other length."""
