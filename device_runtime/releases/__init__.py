"""The signed files that a keyboard suggests with: verified, adopted, kept for rollback."""
