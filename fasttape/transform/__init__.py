"""Transforms: programs, or parts of recordings in progress, turned into programs that compute something else as well."""
