"""Model × ChipSpec × formats → Program, in small passes with the IR checked between them."""
