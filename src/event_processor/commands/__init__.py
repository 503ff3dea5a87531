"""The commands of ``event-processor``, one file each."""
