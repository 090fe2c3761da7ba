"""What people could use instead: n-gram models, Presage, Onboard."""
