//! Test support: in-memory connections, throw-away identities, vectors. Never part of the product.
