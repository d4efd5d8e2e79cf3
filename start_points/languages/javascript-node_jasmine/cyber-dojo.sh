jasmine --no-color --config=jasmine.json
