"""The bits: formats and operations, each as a plain definition and as a fast version held equal to it. Imports nothing of the other folders."""
