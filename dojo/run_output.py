"""How much of an output a light can keep: what a runner keeps, and what a storer is given."""

MAX_BYTES = 1024 * 1024
