"""What the pages show: frozen values, built by plain functions from one consistent view of the database."""
