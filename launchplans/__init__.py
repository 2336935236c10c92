"""Named, scheduled or parameterised plans over the workflows."""
