"""
The formats of image files: what their headers state, and how damage shows in them.

Nothing here decodes pixels.
"""
