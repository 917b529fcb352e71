"""L3, effects: QEMU, QMP, the guest agent's client, saved guests."""
