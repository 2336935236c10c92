"""What people and agents call: the command line, local servers, launches and reports."""
