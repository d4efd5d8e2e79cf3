python2 -m unittest discover
