prove --verbose -I. *.t
