hiker = require "./hiker"

describe "the answer", ->
  it "to life, the universe and everything is 42", ->
    expect(hiker.answer()).toEqual 42
