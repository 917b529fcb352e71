"""What a night came to: its page, its mail, its reports; and how long nights are kept."""
