"""Tables, migrations, and the small functions that read and write them."""
