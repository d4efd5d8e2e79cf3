def fee(kind, arrived, left, days=0, member=False):
    r = 0
    t = left - arrived + days * 1440
    if t >= 0:
        if kind == "car":
            if t > 15:
                if days == 0:
                    if t <= 60:
                        r = 200
                    else:
                        h = (t + 59) // 60
                        r = 200 + (h - 1) * 150
                        if r > 1200:
                            r = 1200
                    if arrived >= 1080:
                        if r > 400:
                            r = 400
                else:
                    r = days * 1200
                    if left > arrived:
                        h = (left - arrived + 59) // 60
                        x = h * 150
                        if x > 1200:
                            x = 1200
                        r = r + x
                if member:
                    if r > 200:
                        r = r - r // 5
        else:
            if kind == "motorbike":
                if t > 30:
                    if days == 0:
                        h = (t + 59) // 60
                        r = h * 80
                        if r > 500:
                            r = 500
                        if arrived >= 1080:
                            if r > 200:
                                r = 200
                    else:
                        r = days * 500
                        if left > arrived:
                            h = (left - arrived + 59) // 60
                            x = h * 80
                            if x > 500:
                                x = 500
                            r = r + x
                    if member:
                        r = r - r // 5
            else:
                raise ValueError("no fee for a " + kind)
    else:
        raise ValueError("left before it arrived")
    return r
