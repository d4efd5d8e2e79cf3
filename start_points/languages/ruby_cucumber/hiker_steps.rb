require_relative "hiker"

Given(/^a hiker with a towel$/) do
  @hiker = Hiker.new
end

When(/^the hiker asks for the answer$/) do
  @answer = @hiker.answer
end

Then(/^the answer is (\d+)$/) do |expected|
  raise "the answer was #{@answer}" unless @answer == expected.to_i
end
