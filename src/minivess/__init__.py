"""Which loss gives the best vessel network on my data, on my own desktop?"""
