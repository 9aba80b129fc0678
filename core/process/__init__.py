"""Every process of Tunery has these: logs, private files, and places at which tests let it die."""
