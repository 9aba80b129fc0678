"""The acceptance of a machine: whether training and chats work on its device, and how fast they are."""
