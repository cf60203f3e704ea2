"""Pictures of systems and schedules."""
