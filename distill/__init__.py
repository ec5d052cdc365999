"""What the student learns from: teacher traces and the sets built from them. Imports curation."""
