"""``pylib doctor``: tries what an application will do, and says what will not work and how to mend it."""
