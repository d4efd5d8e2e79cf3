cucumber --no-color --format progress --format junit --out results --require . *.feature
