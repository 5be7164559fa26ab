"""A picture's own limbs over what a small network drew, and what stands behind a person."""
