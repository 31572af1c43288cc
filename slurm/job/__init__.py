"""What runs inside a job: one server group, until its time is nearly over."""
