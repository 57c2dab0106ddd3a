"""One real service each, or several: does this part work on them?"""
