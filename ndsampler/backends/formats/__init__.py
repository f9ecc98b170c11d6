"""
Image file formats: parsers of their headers, and checks for damage.

Nothing here decodes pixels.
"""
