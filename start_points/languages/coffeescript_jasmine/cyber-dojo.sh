jasmine --no-color --require=/usr/share/nodejs/coffeescript/register.js ./*-spec.coffee
