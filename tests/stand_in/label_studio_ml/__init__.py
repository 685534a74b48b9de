"""A stand-in for label-studio-ml 2.x, which is on no registry: what `cdsel_backend.label_studio_ml` needs of it.

It keeps the contract that was measured on the real package: the shape of the routes, a model made for each request,
`setup()` before anything else, the login, and a cache of texts. Where the real package can be imported the same tests
run against it.
"""
