require_relative "hiker"

describe "the answer" do
  it "to life, the universe and everything is 42" do
    expect(answer).to eq(42)
  end
end
