"""What keeps messages safe between the moment they were accepted and the moment they were delivered."""
