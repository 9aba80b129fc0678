"""Methods of adaptation, PEFT's and full fine-tuning: their options, their descriptions, and the offer.

API, command line and worker use it.
"""
