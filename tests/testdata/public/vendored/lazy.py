def exclaim(text):
    return text + '!'
