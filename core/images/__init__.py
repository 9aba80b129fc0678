"""Images in messages: their form, their limits, and how they are decoded.

The API checks the images of a file while it arrives. Only a process with limits opens an image.
"""
