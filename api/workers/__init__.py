"""The workers: who is online, who may join, what people want of them."""
