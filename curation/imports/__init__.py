"""Rollouts drawn elsewhere, taken in as samples of a model of a recipe.

files.py      a file's rows, through SQL values where its columns have other names
layouts.py    how vLLM, verl, TRL, open-r1 and plain files lay samples out; sample.py: the values of one
published.py  how sets of traces do that are published: OpenThoughts, s1K, LIMO
matching.py   which problem a prompt belongs to
stated.py     the settings that samples were drawn with: what the file says, and what the user states
gathering.py  reading all of it before anything is committed
imported.py   committing it, each sample once
"""
