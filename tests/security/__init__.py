"""What is made to harm: refused by name, and without effect."""
