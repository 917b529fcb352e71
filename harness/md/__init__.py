"""L3, effects: mdadm and sysfs verbs, run on a host."""
