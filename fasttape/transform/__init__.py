"""Transforms: recorded programs, whole or in progress, that are made to compute something else as well."""
