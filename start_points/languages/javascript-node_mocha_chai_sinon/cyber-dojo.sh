mocha --no-color '*-test.js'
