go test -v
