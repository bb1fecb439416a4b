"""The reference pages, made from what is served, from botocore's models, and from what families say by hand."""
