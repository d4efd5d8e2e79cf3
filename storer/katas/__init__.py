"""The katas of one storer: find, create, fetch, replace, delete and list them."""
