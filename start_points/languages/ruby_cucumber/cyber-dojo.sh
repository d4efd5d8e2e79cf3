cucumber --no-color --format progress --require . *.feature
