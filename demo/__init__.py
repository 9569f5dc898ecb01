"""The demo: one call through the whole product on this machine, watched step by step.

`checks` says before anything is changed what this machine lacks; `tour` runs the product and shows it. The
lab and the programs are those of the tests, so that what is shown is what is tested. Not part of the
distribution.
"""
