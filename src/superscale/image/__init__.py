"""What a picture is: files, pixels, colour, size. No networks here."""
