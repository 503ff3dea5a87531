"""One file per schema, in order; each says what it adds and how the data of the one before it are carried over."""
