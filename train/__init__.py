"""The stages that train on curated sets. Imports curation and distill."""
